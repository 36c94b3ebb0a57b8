require "test_helper"

class PrefixedTest < HelperBase
  30.times { |n| define_method("test_%02d" % n) { assert_operator n, :<, 29 } }
end

class PrefixedAgainTest < HelperBase
  10.times { |n| define_method("test_%02d" % n) { assert true } }
end
