require_relative "inherited_test"

class GrandchildTest < ChildTest
  def test_grandchild
    assert true
  end
end
