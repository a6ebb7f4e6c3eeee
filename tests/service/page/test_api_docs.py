"""The page that documents the API."""


def test_every_operation_is_shown(client, open_page):
    operations = client.app.openapi()["paths"].values()
    page = open_page(client, "/docs")
    page.until(lambda: page.has(".opblock"))
    assert len(page.all(".opblock")) == sum(len(methods) for methods in operations)
