// Draws each plot as soon as it has a width, which one in closed details has not, and fits it to every new width.
const canvases = [...document.querySelectorAll(".canvas")];

function size(canvas, width, height) {
  if (canvas.data) return Plotly.relayout(canvas, {width, height});
  const {data, layout} = JSON.parse(canvas.nextElementSibling.textContent);
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;  // a finger scrolls the page
  Plotly.newPlot(canvas, data, {...layout, width, height}, {displayModeBar: false});
}

function fit(canvas) {
  const {clientWidth: width, clientHeight: height} = canvas;
  if (width && width !== canvas.layout?.width) size(canvas, width, height);
}

const widths = new ResizeObserver(entries => entries.forEach(entry => fit(entry.target)));
for (const canvas of canvases) {
  fit(canvas);
  widths.observe(canvas);
}

// Paper is narrower than most windows.
addEventListener("beforeprint", () => canvases.filter(canvas => canvas.clientWidth).forEach(canvas => size(canvas, 320, 220)));
addEventListener("afterprint", () => canvases.forEach(fit));
