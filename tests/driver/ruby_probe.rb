# Writes down what a Ruby run was: ids, outcomes, calls of what counts itself. Knows nothing of the driver.
#
# Required in the plain run and in the driven one alike (`-r`); the contract compares the two.
require "json"

module Probe
  @tests, @counts, @files, @pid = [], Hash.new(0), {}, Process.pid

  class << self
    attr_reader :tests, :counts, :files

    def text(value)
      value.to_s.dup.force_encoding("UTF-8").scrub.gsub(/\s+/, " ").strip
    end

    def file(path)
      File.expand_path(path).delete_prefix(Dir.pwd + "/")
    end

    def write
      return if Process.pid != @pid || !ENV["CONTRACT_OUT"]
      File.write(ENV["CONTRACT_OUT"], JSON.dump("tests" => @tests, "counts" => @counts))
    end
  end

  # A listener of RSpec's reporter.
  module Listener
    NAMES = %i[seed start example_group_started example_group_finished example_started example_finished example_passed example_failed example_pending
               stop start_dump dump_pending dump_failures deprecation_summary dump_profile dump_summary close].freeze

    class << self
      # Before it runs: an example without a description is given one then.
      def id_of(example)
        top = example.example_group.parent_groups.last
        rest = example.full_description.delete_prefix(top.description)
        rest += " #{example.description}" if example.metadata[:description].empty?
        [Probe.files[top] || Probe.file(top.file_path), Probe.text(top.description), Probe.text(rest)].join("::")
      end

      NAMES.each { |name| define_method(name) { |_| Probe.counts["listener #{name}"] += 1 } }

      def example_started(notification)
        Probe.counts["listener example_started"] += 1
        @id = id_of(notification.example)
      end

      def example_finished(notification)
        Probe.counts["listener example_finished"] += 1
        result = notification.example.execution_result
        outcome = { passed: "passed", failed: "failed", pending: notification.example.skipped? ? "skipped" : "expected_failure" }[result.status]
        Probe.tests << [@id, outcome]
      end
    end
  end

  # A reporter of Minitest's.
  class Reporter
    # A test's file is that which defines it, or its class where it is inherited.
    def prerecord(suite, method)
      Probe.counts["probe prerecord"] += 1
      method = suite.instance_method(method)
      place = method.source_location if method.owner == suite && method.source_location.first.start_with?(Dir.pwd)
      place ||= Object.const_source_location(suite.name)
      place = suite.instance_method(suite.runnable_methods.min).source_location if place.empty?
      @id = "#{Probe.file(place.first)}::#{suite}##{method.name}"
    end

    def record(result)
      Probe.counts["probe record"] += 1
      outcome = result.skipped? ? "skipped" : (result.error? ? "errored" : (result.passed? ? "passed" : "failed"))
      Probe.tests << [@id, outcome]
    end

    def start
      Probe.counts["probe start"] += 1
    end

    def report
      Probe.counts["probe report"] += 1
    end

    def passed?
      true
    end
  end
end

def counted(name)
  Probe.counts[name] += 1
end

at_exit { Probe.write }
if defined?(RSpec)
  RSpec.configuration.on_example_group_definition do |group|
    Probe.files[group] = Probe.file(caller_locations.map(&:path).reverse.find { |path| path.end_with?("_spec.rb", "_check.rb") } || group.file_path)
  end
  RSpec.configuration.reporter.register_listener(Probe::Listener, *Probe::Listener::NAMES)
else
  require "minitest"
  Minitest.singleton_class.prepend(Module.new do
    def init_plugins(options)
      super
      reporter << Probe::Reporter.new
    end
  end)
end
