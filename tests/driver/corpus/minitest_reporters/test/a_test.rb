require "test_helper"

class ATest < Minitest::Test
  def test_passes
    assert true
  end

  def test_fails
    assert_equal 1, "a".ord - 96
  end

  def test_skips
    skip "not today"
  end
end

class AAgainTest < Minitest::Test
  def test_passes
    assert true
  end
end
