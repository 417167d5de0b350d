import pytest


def pytest_addoption(parser):
    parser.addoption("--first-byte", type=int, default=1)


@pytest.fixture(scope="session")
def first_byte(request):
    """A fixture and an option of the project's own."""
    return request.config.getoption("--first-byte")
