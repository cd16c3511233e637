"""The browser of these tests: that it can't hold them up."""

from typing import Any

import pytest


@pytest.mark.slow
def test_a_browser_that_answers_no_more_is_ended_and_the_next_test_has_another(chromium: Any) -> None:
    stuck = chromium.browser()
    context = stuck.new_context()
    context.new_page()
    for process in chromium.processes():
        process.suspend()
    chromium.close(context, patience=1)
    assert not stuck.is_connected()
    page = chromium.browser().new_page()
    page.set_content("<p>works</p>")
    assert page.inner_text("p") == "works"
