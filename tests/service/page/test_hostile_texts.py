"""No text of a model or a user becomes an element or runs."""

from dataclasses import replace

import pytest

from configs.errors import UsageError
from tests.service.http.test_fuzz import finish

RUN = "window.hit=1"
HOSTILE = (
    f"<script data-hit>{RUN}</script>",
    f"</script><script data-hit>{RUN}</script>",
    f"<ScRiPt data-hit>{RUN}//",
    f"<script data-hit src=data:,{RUN}></script>",
    f"<scr<script>ipt data-hit>{RUN}</scr</script>ipt>",
    f"<img data-hit src=x onerror={RUN}>",
    f"<img data-hit src='x' onerror='{RUN}'//",
    f'"><img data-hit src=x onerror={RUN}>',
    f"'><img data-hit src=x onerror={RUN}>",
    f"<img/data-hit/src=x/onerror={RUN}>",
    f"<IMG DATA-HIT SRC=javascript:{RUN}>",
    f"</textarea><img data-hit src=x onerror={RUN}>",
    f"</title></style></template><img data-hit src=x onerror={RUN}>",
    f"--><img data-hit src=x onerror={RUN}>",
    f"]]><img data-hit src=x onerror={RUN}>",
    f"\u00a0<img data-hit\x0csrc=x\x0conerror={RUN}>",
    f"<svg data-hit onload={RUN}>",
    f"<svg data-hit><script>{RUN}</script></svg>",
    f"<svg data-hit><animate onbegin={RUN} attributeName=x></svg>",
    f"<svg data-hit><a href=javascript:{RUN}><text y=20>x</text></a></svg>",
    f"<math data-hit><mi xlink:href=javascript:{RUN}>x</mi></math>",
    f"<body data-hit onload={RUN}>",
    f"<iframe data-hit src=javascript:parent.{RUN}></iframe>",
    f'<iframe data-hit srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f"<object data-hit data=javascript:{RUN}></object>",
    f"<embed data-hit src=javascript:{RUN}>",
    f"<video data-hit><source onerror={RUN}></video>",
    f"<audio data-hit src=x onerror={RUN}>",
    f"<details data-hit open ontoggle={RUN}><summary>x</summary></details>",
    f"<input data-hit autofocus onfocus={RUN}>",
    f"<select data-hit autofocus onfocus={RUN}></select>",
    f"<marquee data-hit onstart={RUN}>x</marquee>",
    f"<form data-hit action=javascript:{RUN}><button>x</button></form>",
    f"<button data-hit formaction=javascript:{RUN}>x</button>",
    f"<a data-hit href=javascript:{RUN}>x</a>",
    f"<a data-hit href='&#106;avascript:{RUN}'>x</a>",
    "<a data-hit href=//evil.example>x</a>",
    "<base data-hit href=//evil.example>",
    "<link data-hit rel=stylesheet href=//evil.example/x.css>",
    "<meta data-hit http-equiv=refresh content='0;url=//evil.example'>",
    "<style data-hit>* {display: none}</style>",
    "<div data-hit style='position:fixed;inset:0'>x</div>",
    f"[hit](javascript:{RUN})",
    "[hit](https://evil.example 'hit')",
    f'![hit](x " onerror={RUN})',
    "**hit** _hit_ `hit`",
    "<https://evil.example/hit>",
    f"{{{{constructor.constructor('{RUN}')()}}}}${{{RUN}}}<%= {RUN} %>#{{{RUN}}}",
    f"$\\href{{javascript:{RUN}}}{{hit}}$ $$\\text{{hit}}$$",
    f"&lt;img data-hit src=x onerror={RUN}&gt;&#60;img data-hit src=x onerror={RUN}&#62;",
    f"\u003cimg data-hit src=x onerror={RUN}\u003e",
    f"\uff1cimg data-hit src=x onerror={RUN}\uff1e",
)
GROUPS = ["\n".join(HOSTILE[i : i + 6]) for i in range(0, len(HOSTILE), 6)]
INJECTED = """
const made = [...document.querySelectorAll('[data-hit], .katex, [href*="evil.example"], [href^="javascript:"]')]
const marked = [...document.querySelectorAll('strong, em, code, a, h1')].filter(e => e.textContent.includes('hit'))
return [window.hit ?? null, ...[...made, ...marked].map(element => element.outerHTML)]
"""


assert len(set(HOSTILE)) > 50


def injected(page):
    """Trace of a script that ran, and elements made from text."""
    return page.run(INJECTED)


def put(page, selector, text):
    page.run("document.querySelector(arguments[0]).value = arguments[1]", selector, text)


def shows(page, selector, text):
    """True if an element holds this text, whatever white space is in it."""
    found = page.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
    return text.split() == found.split()


@pytest.mark.slow
def test_what_a_model_writes_stays_text(client, open_page, models, monkeypatch):
    async def echo(adapter, question):
        return question.dialogue

    run = finish(client)
    monkeypatch.setattr(models, "summarize", echo)
    page = open_page(client, f"/page/try?adapter={run}")
    for text in GROUPS:
        put(page, "#dialogue", text)
        page.press("#summarize")
        page.until(lambda text=text: shows(page, "article:first-child .summary", text))
        assert shows(page, "article:last-child .summary", text) and injected(page) == [None], text


@pytest.mark.slow
def test_errors_are_shown_as_text(client, open_page, models, monkeypatch):
    texts = iter(GROUPS)

    async def fail(adapter, question):
        raise UsageError(next(texts))

    monkeypatch.setattr(models, "summarize", fail)
    page = open_page(client, "/page/try")
    page.refused = {422}
    for text in GROUPS:
        page.press("#summarize")
        page.until(lambda text=text: shows(page, "#summaries .problem", text))
        assert injected(page) == [None], text


@pytest.mark.slow
def test_what_a_user_types_stays_text(client, open_page):
    page = open_page(client, "/page/start")
    page.refused = {422}
    for text in GROUPS:
        put(page, "#steps", text)
        page.press("#start")
        page.until(lambda text=text: page.has("#steps-problem .problem"))
        assert page.value("#steps") == text.replace("\n", "") and injected(page) == [None], text
        put(page, "#steps", "")
    page.go("/page/runs")
    for text in HOSTILE:
        page.write("#search", text)
    page.until(lambda: page.run("return document.activeElement.value") == HOSTILE[-1])
    page.until(lambda: page.has(".empty"))
    assert injected(page) == [None]


@pytest.mark.slow
def test_texts_of_runs_stay_text(client, open_page, monkeypatch):
    runs = client.app.state.runs
    first = runs.store.get(finish(client))
    for number, text in enumerate(GROUPS):
        made = replace(first, id=f"{number:012x}", base=text, owner=text, request={"base": text}, token=None,
                       created=first.created + number + 1, state="failed", message="\n".join(GROUPS))  # fmt: skip
        assert runs.store.add(made, 99)
    monkeypatch.setattr(runs.jobs, "log", lambda name: "\n".join(GROUPS))
    page = open_page(client, "/page/runs")
    assert {text.split()[0] for text in GROUPS} <= {row[3].split()[0] for row in page.rows()}
    assert injected(page) == [None]
    for number, text in enumerate(GROUPS):
        page.go(f"/page/runs/{number:012x}")
        assert shows(page, "#message", "\n".join(GROUPS)) and injected(page) == [None], text
    page.go(f"/page/runs/{0:012x}/log")
    assert shows(page, "#log", "\n".join(GROUPS)) and injected(page) == [None]
    page.refused = {404}
    for text in HOSTILE:
        page.run("location.href = '/page/' + encodeURIComponent(arguments[0])", text)
        page.until(lambda: page.text("h1") == "Not Found")
        assert injected(page) == [None], text


@pytest.mark.slow
def test_a_report_has_no_origin(client, open_page):
    run = finish(client)
    report = client.app.state.runs.folder(run) / "report.html"
    report.write_text("<body><script>document.title = `${self.origin} ${location.pathname}`</script>")
    answer = client.get(f"/runs/{run}/files/report.html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "same-origin" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = open_page(client, f"/runs/{run}/files/report.html")
    assert page.browser.title == f"null /runs/{run}/files/report.html"
