import os


def test_mocked(mocker):
    mocker.patch("os.getcwd", return_value="/nowhere")
    assert os.getcwd() == "/nowhere"


def test_restored(mocker):
    assert os.getcwd() != "/nowhere"


def test_fails(mocker):
    called = mocker.Mock()
    called.assert_called_once()
