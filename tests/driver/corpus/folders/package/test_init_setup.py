def test_package_is_loaded():
    import package

    assert package.loaded
