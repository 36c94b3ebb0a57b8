require "test_helper"

class ReopenedTest < Minitest::Test
  8.times { |n| define_method("test_of_the_first_file_#{n}") { assert true } }
end
