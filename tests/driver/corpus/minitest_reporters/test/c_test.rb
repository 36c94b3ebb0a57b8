require "test_helper"

class CTest < Minitest::Test
  def test_passes
    assert true
  end

  def test_fails
    assert_equal 1, "c".ord - 96
  end

  def test_skips
    skip "not today"
  end
end

class CAgainTest < Minitest::Test
  def test_passes
    assert true
  end
end
