"""The studio's pages: what each address answers. Its face: a function (studio, request) -> response for each."""
