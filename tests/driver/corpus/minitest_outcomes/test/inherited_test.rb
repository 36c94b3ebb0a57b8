require "test_helper"

class BaseTest < HelperBase
  include Shared

  def shared_needs; end

  def test_base
    assert true
  end
end

class ChildTest < BaseTest
  def test_child
    assert true
  end

  def test_base
    skip "overridden"
  end
end
