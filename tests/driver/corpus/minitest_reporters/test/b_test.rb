require "test_helper"

class BTest < Minitest::Test
  def test_passes
    assert true
  end

  def test_fails
    assert_equal 1, "b".ord - 96
  end

  def test_skips
    skip "not today"
  end
end

class BAgainTest < Minitest::Test
  def test_passes
    assert true
  end
end
