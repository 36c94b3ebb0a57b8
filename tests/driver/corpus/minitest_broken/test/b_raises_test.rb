class HalfTest < Minitest::Test
  def test_is_not_run
    raise "never"
  end
end

raise ArgumentError, "while loading"
