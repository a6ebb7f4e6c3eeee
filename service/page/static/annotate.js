// The keyboard of the page that compares two summaries, and the note that is not sent yet.
"use strict";

const KEYS = {
  "1": "first", ArrowLeft: "first",
  "0": "tie", t: "tie", ArrowDown: "tie",
  "2": "second", ArrowRight: "second",
  u: "undo", Backspace: "undo",
  s: "skip",
};

document.addEventListener("keydown", event => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.closest("textarea, select, input:not([type=radio])")) return;
  if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return; // it chooses among these
  const name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const button = name && document.querySelector(`[data-key=${name}]`);
  if (!button || button.matches(":disabled")) return; // an answer is on its way
  event.preventDefault();
  button.click();
  if (name === "skip") button.parentElement.querySelector("button")?.focus();
});

// A note survives a reload and a service that does not answer, until its question is answered.
function place() {
  return `note ${document.querySelector("#task").dataset.question}`;
}

function restore() {
  const note = document.querySelector("#note"), kept = note && sessionStorage.getItem(place());
  if (kept) {
    note.value = kept;
    document.querySelector("#noting").open = true;
  }
}

document.addEventListener("input", event => {
  if (event.target.id === "note") sessionStorage.setItem(place(), event.target.value);
});

let shown = document.querySelector("#task").dataset.question;
document.addEventListener("htmx:after:swap", () => {
  const task = document.querySelector("#task");
  restore();
  if (task.dataset.question === shown) return;
  sessionStorage.removeItem(`note ${shown}`);
  shown = task.dataset.question;
  if (task.getBoundingClientRect().top < 0) task.scrollIntoView(); // on a phone the buttons are below
});
restore();
