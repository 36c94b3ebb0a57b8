require "test_helper"

class AlphaTest < HelperBase
  i_suck_and_my_tests_are_order_dependent!

  %w[d b a c e].each { |letter| define_method("test_#{letter}") { assert true } }
end

class ParallelTest < HelperBase
  parallelize_me!

  10.times { |n| define_method("test_#{n}") { assert true } }
end

class SortedTest < Minitest::Test
  def self.test_order
    :sorted
  end

  def self.runnable_methods
    super.reverse
  end

  %w[d b a c e].each { |letter| define_method("test_#{letter}") { assert true } }
end

class WrappedTest < Minitest::Test
  def self.run(reporter, options = {})
    counted("class run")
    super
  end

  def run
    counted("test run")
    super
  end

  def test_one
    assert true
  end

  def test_two
    assert true
  end
end
