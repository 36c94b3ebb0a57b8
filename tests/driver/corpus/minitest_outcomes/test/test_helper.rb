require "minitest/autorun"

Minitest.after_run { counted("after_run of the helper") }

class HelperBase < Minitest::Test
  def setup
    counted("setup of the helper's base")
  end

  def teardown
    counted("teardown of the helper's base")
  end
end

module Shared
  def test_of_a_module
    assert_respond_to(self, :shared_needs)
  end
end

# Tests of the helper itself run, too.
class HelperTest < HelperBase
  def test_of_the_helper
    assert true
  end

  def test_of_the_helper_fails
    assert false
  end
end
