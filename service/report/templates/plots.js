// Draws each plot as soon as it has a width, which one in closed details has not, and fits it to every new width.
const canvases = [...document.querySelectorAll(".canvas")];

function draw(canvas) {
  const {data, layout} = JSON.parse(canvas.nextElementSibling.textContent);
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;  // a finger scrolls the page
  Plotly.newPlot(canvas, data, layout, {displayModeBar: false});
}

function fit(canvas) {
  const width = canvas.clientWidth;
  if (!width || Number(canvas.dataset.width) === width) return;
  canvas.dataset.width = width;
  if (canvas.data) Plotly.Plots.resize(canvas); else draw(canvas);
}

const sizes = new ResizeObserver(entries => entries.forEach(entry => fit(entry.target)));
for (const canvas of canvases) {
  fit(canvas);
  sizes.observe(canvas);
}

// Paper is narrower than most windows.
const onPaper = size => canvases.filter(canvas => canvas.clientWidth).forEach(canvas => Plotly.relayout(canvas, size));
addEventListener("beforeprint", () => onPaper({width: 320, height: 220}));
addEventListener("afterprint", () => onPaper({width: null, height: null, autosize: true}));
