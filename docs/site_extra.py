"""What the site has beyond the notebooks: data for its browsable tables, and repairs of the theme's markup. A Sphinx extension."""
import re
from pathlib import Path

# page -> its script, and the data the script reads
SCRIPTS = {"research/q6_abstention": "explorer", "ledger": "ledger"}


def data_scripts() -> dict[str, str]:
    "Scripts of data, made from the records at build time: nothing is committed twice, and a page opened from a disk works."
    from plcal_study.study.browse import as_script, explorer_data, ledger_data, ledger_rows
    return {"explorer": as_script("explorer", explorer_data()), "ledger": as_script("ledger", ledger_data(ledger_rows()))}


def _write_data(app):
    if app.builder.format != "html": return
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in data_scripts().items(): (folder / f"data_{name}.js").write_text(script, encoding="utf-8")


def mend(body: str) -> str:
    "A page's HTML with the faults mended that an audit of accessibility finds in what Sphinx and pandas write."
    body = re.sub(r"<th([^>]*)>\s*(?:<p>\s*</p>)?\s*</th>", r"<td\1></td>", body)                           # an empty cell is no header
    body = body.replace('role="doc-biblioentry"', 'role="listitem"')                                        # the items that role="list" asks for
    return re.sub(r'(<img[^>]*\ssrc="((?:\.\./)*_images/[^"]+)"[^>]*>)(?!\s*</a>)', r'<a class="plcal-full" href="\2">\1</a>', body)


def _page(app, pagename, templatename, context, doctree):
    if pagename in SCRIPTS:
        for f in (f"data_{SCRIPTS[pagename]}.js", f"{SCRIPTS[pagename]}.js"): app.add_js_file(f, loading_method="defer")
    if "body" in context: context["body"] = mend(context["body"])


def _tidy(app, exception):
    "Remove the pages of documents that are no more, which an incremental build would leave behind."
    sources = Path(app.outdir) / "_sources"
    if exception or app.builder.format != "html": return
    for f in [f for f in sources.rglob("*") if f.is_file()]:
        name = f.relative_to(sources).as_posix().removesuffix(".txt").rsplit(".", 1)[0]
        if name not in app.env.found_docs:
            f.unlink()
            (Path(app.outdir) / f"{name}.html").unlink(missing_ok=True)


def setup(app):
    app.connect("builder-inited", _write_data)
    app.connect("html-page-context", _page)
    app.connect("build-finished", _tidy)
    return dict(version="0.1", parallel_read_safe=True, parallel_write_safe=True)
