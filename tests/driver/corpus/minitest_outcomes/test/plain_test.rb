require "test_helper"

Minitest.after_run { counted("after_run of a file") }

class PlainTest < Minitest::Test
  def setup
    counted("setup")
    raise "from setup" if name == "test_setup_fails"
  end

  def teardown
    counted("teardown")
    raise "from teardown" if name == "test_teardown_fails"
  end

  def test_passes
    assert_equal 2, 1 + 1
  end

  def test_fails
    assert_equal 3, 1 + 1
  end

  def test_raises
    raise ArgumentError, "two\nlines"
  end

  def test_skips
    skip "not today"
  end

  def test_fails_then_skips
    flunk
  ensure
    counted("ensure")
  end

  def test_without_assertions; end

  def test_setup_fails; end

  def test_teardown_fails; end

  12.times { |n| define_method("test_made_#{n}") { assert_operator n, :<, 11 } }

  def not_a_test
    raise "never"
  end

  private

  def test_private
    raise "never"
  end
end

module Deep
  class InnerTest < HelperBase
    def test_inner
      assert true
    end

    class InnermostTest < HelperBase
      def test_innermost
        assert true
      end
    end
  end
end

class EmptyTest < Minitest::Test; end
