class GoodTest < Minitest::Test
  def test_passes
    assert true
  end
end
