require "minitest/autorun"

if ENV["MINITEST_REPORTERS"]
  require "minitest/reporters"

  class CountingReporter < Minitest::Reporters::BaseReporter
    %i[start before_suite after_suite before_test after_test record report].each do |name|
      define_method(name) { |*arguments| counted("reporter #{name}"); super(*arguments) }
    end
  end
  Minitest::Reporters.use!([Minitest::Reporters::SpecReporter.new, CountingReporter.new])
end
if ENV["MINITEST_HOOKS"]
  require "minitest/hooks/test"

  class Minitest::Test
    include Minitest::Hooks

    def before_all
      super
      counted("before_all")
    end

    def after_all
      counted("after_all")
      super
    end

    def around
      counted("around")
      super
    end

    def around_all
      counted("around_all")
      super
    end
  end
end
