// What the pages do besides htmx: say when the service does not answer, and draw the curves of a run.
"use strict";

// An address that holds the key, as in http://any:KEY@host/, is left once the browser knows the key: it would be seen,
// and fetch refuses it.
if (new URL(document.URL).username) location.replace(location.origin + location.pathname + location.search);

// Errors of requests. A response that is the page of an error replaces nothing; its text is shown above the page.
const notice = document.querySelector("#notice");
let source = null; // the element whose request failed

function say(text, element) {
  notice.textContent = text;
  notice.hidden = !text;
  source = element;
}

document.addEventListener("htmx:before:swap", event => {
  const { ctx } = event.detail;
  const page = new DOMParser().parseFromString(ctx.text, "text/html");
  const problem = page.querySelector("#problem");
  if (problem) {
    event.preventDefault();
    say(problem.textContent.trim(), ctx.sourceElement);
  } else if (!page.querySelector("main")) { // not one of our pages: the service is starting, or a proxy answers
    event.preventDefault();
    say("The service does not answer. What you see may be out of date.", ctx.sourceElement);
  } else if (source === ctx.sourceElement) {
    say("", null);
  }
});
document.addEventListener("htmx:error", event => {
  const element = event.detail.ctx?.sourceElement;
  if (element) say("The service does not answer. What you see may be out of date.", element);
});

// Curves: each figure has in data-lines the metrics that it shows and their labels.
const curves = document.querySelector("#curves");
const dark = matchMedia("(prefers-color-scheme: dark)");
const steps = [];
let asking = false;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function trace(metric, label, number) {
  const known = steps.filter(step => typeof step[metric] === "number");
  const x = known.map(step => step.step + 1), y = known.map(step => step[metric]);
  const line = { color: colour(`--line-${number + 1}`), width: 2, dash: ["solid", "dot"][number] };
  return { x, y, name: label, line, mode: known.length > 1 ? "lines" : "markers", hovertemplate: "%{y:.4g}" };
}

function layout(several) {
  const axis = { gridcolor: colour("--rule"), zerolinecolor: colour("--rule"), automargin: true };
  return {
    height: 250,
    margin: { l: 44, r: 12, t: several ? 30 : 8, b: 40 },
    font: { family: "system-ui, sans-serif", size: 12, color: colour("--quiet") },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hovermode: "x",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--rule"), font: { color: colour("--ink") } },
    showlegend: several,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    xaxis: { ...axis, title: { text: "step" }, rangemode: "tozero" },
    yaxis: { ...axis },
    uirevision: "run", // keeps the user's zoom
  };
}

function draw() {
  const figures = [...curves.querySelectorAll("figure")].map(figure => {
    const lines = JSON.parse(figure.dataset.lines);
    const traces = lines.map(([metric, label], i) => trace(metric, label, i)).filter(one => one.x.length);
    figure.hidden = !traces.length; // of all of them before any is drawn, as it changes their widths
    return [figure, traces];
  });
  for (const [figure, traces] of figures) {
    if (!traces.length) continue;
    const newest = traces.map(one => (traces.length > 1 ? `${one.name} ` : "") + one.y.at(-1).toPrecision(3));
    figure.querySelector(".newest").textContent = newest.join(", ");
    const options = { displayModeBar: false, displaylogo: false };
    Plotly.react(figure.querySelector(".plot"), traces, layout(traces.length > 1), options);
  }
  document.querySelector("#no-curves").hidden = figures.some(([, traces]) => traces.length);
}

const resized = new ResizeObserver(entries => {
  for (const { target } of entries) if (target.data && target.clientWidth) Plotly.Plots.resize(target);
});

// Fetches the steps since the last one.
async function grow() {
  if (asking) return;
  asking = true;
  try {
    let answer, page;
    do {
      answer = await fetch(`${curves.dataset.steps}?after=${steps.at(-1)?.step ?? -1}`);
      page = answer.ok ? await answer.json() : { steps: [], next: null };
      steps.push(...page.steps);
      if (page.steps.length) draw();
    } while (page.next !== null);
  } catch {
    // The state, which is asked for at the same time, says that the service does not answer.
  } finally {
    asking = false;
  }
}

if (curves) {
  for (const plot of curves.querySelectorAll(".plot")) resized.observe(plot);
  grow();
  document.addEventListener("htmx:after:swap", grow); // as often as the state, until the run has ended
  dark.addEventListener("change", draw);
}
