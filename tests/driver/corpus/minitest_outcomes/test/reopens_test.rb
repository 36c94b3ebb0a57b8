require_relative "reopened_test"

class ReopenedTest
  8.times { |n| define_method("test_of_the_second_file_#{n}") { assert_operator n, :<, 7 } }
end
