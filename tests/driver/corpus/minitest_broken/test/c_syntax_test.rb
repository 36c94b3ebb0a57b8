class SyntaxTest < Minitest::Test
  def test_is_not_run(
end
