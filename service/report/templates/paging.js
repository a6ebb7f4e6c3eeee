// Pages through the pairs in the chosen order, those that hold the words searched for.
function pager(section) {
  const one = selector => section.querySelector(selector), list = one("ol"), pairs = [...list.children];
  const [order, search, number, previous, next, shown] =
    ["select", "[type=search]", "[type=number]", ".previous", ".next", "output"].map(one);
  const texts = pairs.map(pair => [...pair.querySelectorAll(".text")].map(e => e.textContent).join("\n").toLowerCase());
  const size = Number(section.dataset.size);

  function show(page) {
    const words = search.value.toLowerCase().split(/\s+/);
    const found = order.value.split(" ").filter(place => words.every(word => texts[place].includes(word)));
    const pages = Math.max(1, Math.ceil(found.length / size)), at = Math.min(Math.max(1, page || 1), pages);
    list.replaceChildren(...found.slice((at - 1) * size, at * size).map(place => pairs[place]));
    for (const pair of list.children) pair.hidden = false;
    list.start = (at - 1) * size + 1;
    number.value = at;
    number.max = pages;
    previous.disabled = at === 1;
    next.disabled = at === pages;
    const last = Math.min(at * size, found.length);
    shown.textContent = found.length ? `${(at - 1) * size + 1}-${last} of ${found.length}` : "no text has these words";
    one(".pages").textContent = pages;
  }

  const turn = by => show(Number(number.value) + by);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  number.addEventListener("change", () => show(Math.floor(number.value)));
  order.addEventListener("change", () => show(1));
  search.addEventListener("input", () => show(1));
  section.addEventListener("keydown", event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    turn(by);
    event.preventDefault();
  });
  one(".controls").hidden = false;
  show(1);
}
document.querySelectorAll(".pager").forEach(pager);
