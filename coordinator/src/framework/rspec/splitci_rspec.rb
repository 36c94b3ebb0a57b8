# splitci's driver for RSpec 3: runs inside the user's own rspec and feeds it one file at a time.
#
# - rspec starts as it does without us: options, configuration, `--require`d files. Where it would load all spec files it lists them instead; a unit
#   loads its own. `before(:suite)` hooks that a file brings run before its first example; `after(:suite)` hooks once, at the end.
# - Groups stay where they are defined, as in a plain run; what is new after a file was loaded is its unit's.
# - Nothing is green by omission: an `exit` in an example, an example that is never reported, an end before its time become errors.
require_relative "splitci_wire"

module SplitciDriver
  class RSpecDriver < Session
    # Listeners are told how many examples to expect, which nobody knows; a progress bar breaks if it is too few.
    MANY = 1_000_000

    def initialize(address)
      super(address, "rspec")
      @kept, @uncut, @run_hooks, @all_passed = {}, {}, nil, true
      @ids, @focus = {}.compare_by_identity, []
    end

    # Whether this is the first run of the process: a test may run another, or even itself.
    def first?(config)
      !@foreign && (@config.nil? || (@config.equal?(config) && !@running))
    end

    def of_another?(config)
      !ours? || (@config && !@config.equal?(config))
    end

    # Listing

    def list_files(config)
      @config, @world = config, config.world
      settle_down
      self.seed = config.seed
      settle(config)
      @paths = {}
      # Groups that are there already, of a helper or of the script itself: units of their own.
      @defined = @world.example_groups.group_by { |group| name_of(group.metadata[:absolute_file_path]) }
      config.files_to_run.uniq.each { |path| @paths[name_of(path)] = File.expand_path(path) }
      speak(RSpec::Core::Version::STRING)
      config.backtrace_exclusion_patterns << /\A#{Regexp.escape(__dir__)}/
      @config.reporter.register_listener(self, :example_started, :example_passed, :example_failed, :example_pending)
      open_all if address.whole
    end

    def open_all
      names.each { |name| open(name) }
      return unless @config.run_all_when_everything_filtered? && @world.example_count.zero?
      @world.filtered_examples.clear
      @config.inclusion_filter.clear
    end

    def names
      (@defined.keys + @paths.keys).uniq
    end

    def settle(config)
      go_on
      raise ArgumentError, "--dry-run runs nothing: use `splitci plan`" if config.dry_run?
      return if address.whole || !config.run_all_when_everything_filtered?
      # What the configuration includes holds if there is any such example: that is a focus. What the command line includes was asked for.
      rules = config.filter_manager.inclusions.rules
      @included.to_a.each do |filter|
        filter.each { |key, value| rules.delete(key) if rules[key] == value }
        focus(filter)
      end
      notice("run_all_when_everything_filtered is off: a shard sees one file at a time") unless config.inclusion_filter.empty?
    end

    def go_on
      return unless @config.fail_fast
      @config.force(fail_fast: false)
      notice("--fail-fast does not count over shards and is off: use `splitci run --fail-fast`")
    end

    # Examples that, where there are any, are the only ones to run. A shard cannot know of all files: in each file by itself.
    def focus(filter)
      @focus << filter
    end

    def included(filter)
      (@included ||= []) << filter
    end

    # Running

    def run_specs(runner)
      @running = true
      passed = @config.reporter.report(MANY) do |reporter|
        @reporter = reporter
        @config.with_suite_hooks do
          @run_hooks = hooks.dup
          unless @world.wants_to_quit
            list(names)
            serve { |order| run_unit(order) }
            settle_coverage
          end
        end
        stay_alone
        @all_passed
      end
      runner.exit_code(passed)
    end

    def run_unit(order)
      wire.at(order.unit, NONE)
      tests = load_unit(order)
      return false if @world.wants_to_quit
      chosen = declare(order, tests)
      expect(order.unit, chosen)
      stubs, chosen = chosen.partition { |ordinal| tests[ordinal][1].is_a?(Stub) }
      stubs.each { |ordinal| ends(ordinal, tests[ordinal][1].result) }
      @all_passed = false if stubs.any?
      run_examples(tests, chosen)
      unit_end
      !@world.wants_to_quit
    end

    # The tests of a unit's file, in the order in which they would run. What ran once would not run a second time as if it were new: it is loaded anew.
    def load_unit(order)
      all_again
      tests = tests_of(order.name, @kept[order.name] || open(order.name))
      ran = tests.each_with_index.any? { |(id, test), ordinal| order.wants?(ordinal, id) && !test.is_a?(Stub) && test.execution_result.started_at }
      ran ? tests_of(order.name, open(order.name)) : tests
    end

    def tests_of(name, groups)
      return [[groups.id, groups]] if groups.is_a?(Stub)
      groups = @config.ordering_registry.fetch(:global).order(groups)
      groups.flat_map { |group| examples_of(group) }.map { |example| [@ids[example] ||= id_of(name, example), example] }
    end

    # Loads a file; its groups, or what stands for them.
    def open(name)
      @kept[name] = load_file(name)
    end

    def load_file(name)
      path = @paths[name]
      return defined_before(name) || stub(name, "#{name} was not found by RSpec", "") unless path
      return not_run(name) if @hook_failed
      forget(name, path)
      known = @world.example_groups.size
      # A test may have reset RSpec: what is loaded is to be found.
      RSpec.world, RSpec.configuration = @world, @config
      begin
        @loading = true
        at_home { @config.__send__(:load, path) }
        @config.loaded_spec_files << path
      rescue SignalException, NoMemoryError, Lost
        raise
      rescue Exception => error # rubocop:disable Lint/RescueException
        stay_alone(1)
        @world.example_groups.slice!(known..-1)
        return failed_to_load(name, error)
      ensure
        @loading = false
      end
      go_on
      run_new_suite_hooks
      return not_run(name, known) if @hook_failed
      groups = defined_before(name).to_a + @world.example_groups[known..-1]
      narrow(name, groups)
      groups
    end

    # They cannot be loaded anew: what ran is made as if it had not.
    def defined_before(name)
      @defined[name].to_a.flat_map(&:descendants).flat_map(&:examples).each do |example|
        next unless example.execution_result.started_at
        example.instance_variable_set(:@exception, nil)
        example.metadata[:execution_result] = RSpec::Core::Example::ExecutionResult.new
      end
      @defined[name]
    end

    # Groups are numbered within their file, and the numbers decide a random order: they begin anew, those of a file that makes groups for others too.
    def forget(name, path)
      # Which lines have examples is looked up once; with the first file only.
      @world.instance_variable_set(:@descending_declaration_line_numbers_by_file, nil)
      @world.example_group_counts_by_spec_file.clear unless address.whole
      return unless @kept.key?(name)
      @world.example_groups.reject! { |group| @kept[name].include?(group) && !@defined[name].to_a.include?(group) } if @kept[name].is_a?(Array)
      @world.example_group_counts_by_spec_file.delete(path)
    end

    # Leaves only the examples in focus, if the file has any.
    def narrow(name, groups)
      return if @focus.empty?
      all = groups.flat_map(&:descendants)
      filters = @focus.select { |filter| all.any? { |group| group.examples.any? { |example| RSpec::Core::MetadataFilter.apply?(:any?, filter, example.metadata) } } }
      return if filters.empty?
      notice("#{name} has examples in focus: no others of it run; files without focus run as a whole")
      rules = @config.filter_manager.inclusions.rules
      before = rules.dup
      filters.each { |filter| @config.filter_manager.include_with_low_priority(filter) }
      all.each { |group| @world.filtered_examples[group] }
      rules.replace(before)
    end

    def failed_to_load(name, error)
      @reporter ||= @config.reporter
      if error.is_a?(SystemExit)
        return stub(name, SplitciDriver.exit_of(error, " while the file was loaded"), SplitciDriver.describe(error))
      end
      @loading = true
      @reporter.notify_non_example_exception(error, "An error occurred while loading #{name}.")
      missing = SplitciDriver.message_of(error).include?("Could not find shared")
      notice("shared examples of one spec file are used in another: `whole = true` in [rspec] loads all files in each shard") if missing
      stub(name, SplitciDriver.one_line(SplitciDriver.message_of(error)), SplitciDriver.describe(error), *place_of_loading(error, @paths[name]))
    ensure
      @loading = false
    end

    def stub(name, message, details, file = "", line = 0)
      Stub.new(name, Result.new(ERRORED, message, file, line, details))
    end

    def hooks
      @config.instance_variable_get(:@before_suite_hooks) || []
    end

    # Those that were registered by the file that was just loaded, in the order in which they would have run.
    def run_new_suite_hooks
      return if @run_hooks.nil?
      fresh = hooks.reject { |hook| @run_hooks.any? { |known| known.equal?(hook) } }
      @hooking = true
      fresh.each do |hook|
        @run_hooks << hook
        break if @world.wants_to_quit
        @config.__send__(:run_suite_hooks, "a `before(:suite)` hook", [hook])
      end
    ensure
      @hooking = false
    end

    # A hook of the suite that fails is the end of a plain run. Here it came with a file: that one, and those after it, are told as not run, each once.
    def not_run(name, known = nil)
      error, context = @hook_failed
      @world.example_groups.slice!(known..-1) if known
      @world.wants_to_quit = false
      stub(name, SplitciDriver.one_line("#{context}\n".b << SplitciDriver.message_of(error)), SplitciDriver.describe(error), *place_of(error.backtrace))
    end

    # Examples as they would run: a group's own, then those of its children.
    def examples_of(group)
      strategy = group.ordering_strategy
      strategy.order(group.filtered_examples) + strategy.order(group.children).flat_map { |child| examples_of(child) }
    end

    # File, top-level group and the rest: a top-level group is never cut, and its name ends at the second pair of colons. Made before it runs: that gives
    # a description to those that have none.
    def id_of(name, example)
      top = plain(example.example_group.parent_groups.last.description)
      whole = plain(example.full_description)
      rest = whole.start_with?(top) ? whole.byteslice(top.bytesize, whole.bytesize).strip : whole
      rest = "#{rest} #{plain(example.description)}".strip if example.metadata[:description].to_s.empty?
      "#{name}::#{top}::#{rest}".b
    end

    def plain(text)
      SplitciDriver.bytes(text).gsub(/\s+/n, " ").strip
    end

    def run_examples(tests, chosen)
      @ordinals = {}.compare_by_identity
      chosen.each { |ordinal| @ordinals[tests[ordinal][1]] = ordinal }
      groups = chosen.map { |ordinal| tests[ordinal][1].example_group.parent_groups.last }.uniq
      only(groups, @ordinals) if chosen.size < tests.size || chosen.size < groups.sum { |group| group.descendant_filtered_examples.size }
      until (left = waiting).empty?
        begin
          wire.at(@unit, left.first)
          @current = nil
          groups.each { |group| @all_passed = false unless group.run(@reporter) }
          waiting.each { |ordinal| ends(ordinal, Result.new(ERRORED, "RSpec did not run it", "", 0, "")) }
        rescue SystemExit => error
          stay_alone(error.status)
          escaped(@current || left.first, error)
          only(groups, @ordinals.select { |_, ordinal| waiting.include?(ordinal) }.compare_by_identity)
        end
      end
    end

    # Leaves these examples, and no others, to be run.
    def only(groups, examples)
      groups.flat_map(&:descendants).each do |group|
        @uncut[group] ||= group.filtered_examples
        @world.filtered_examples[group] = group.examples.select { |example| examples.key?(example) }
        group.instance_variable_set(:@descendant_filtered_examples, nil)
      end
    end

    # What the user's own filters leave.
    def all_again
      @uncut.each do |group, examples|
        @world.filtered_examples[group] = examples
        group.instance_variable_set(:@descendant_filtered_examples, nil)
      end
      @uncut = {}
    end

    # An example that ends its process: a plain run would be over, green perhaps. This one names it and goes on.
    def escaped(ordinal, error)
      @all_passed = false
      file, line = place_of(error.backtrace)
      ends(ordinal, Result.new(ERRORED, SplitciDriver.exit_of(error), file, line, SplitciDriver.describe(error)))
    end

    # What RSpec tells its listeners

    def example_started(notification)
      return unless stay_alone
      ordinal = @ordinals && @ordinals[notification.example]
      return unless ordinal
      @current = ordinal
      begins(ordinal)
    end

    def example_passed(notification)
      ended(notification) { nil }
    end

    def example_pending(notification)
      ended(notification) do |example|
        outcome = example.skipped? ? SKIPPED : EXPECTED_FAILURE
        Result.new(outcome, SplitciDriver.one_line(example.execution_result.pending_message), *place_of([example.location]), "")
      end
    end

    def example_failed(notification)
      ended(notification) do |example|
        lines = notification.message_lines
        file, line = place_of(notification.formatted_backtrace, example.file_path)
        Result.new(FAILED, reason_of(example, lines), file, line, notification.fully_formatted(nil))
      end
    end

    def ended(notification)
      example = notification.example
      ordinal = @ordinals && @ordinals[example]
      return unless ordinal
      result = yield(example)
      return unless stay_alone(result && result.outcome == FAILED ? 1 : 0)
      ends(ordinal, result)
      @current = nil
    end

    # The first line that says what was wrong, not which line of code it was.
    def reason_of(example, lines)
      error = example.execution_result.exception
      message = error ? SplitciDriver.message_of(error) : ""
      SplitciDriver.one_line(message.empty? ? lines.map { |line| SplitciDriver.bytes(line) }.join("\n") : message)
    end

    # An error outside of any example. Those of loading are told as tests.
    def non_example_exception(error, context)
      @hook_failed ||= [error, context] if @hooking
      @errors << (SplitciDriver.tell(error) << "\n" << SplitciDriver.bytes(context)) unless @loading
    end
  end

  module OnRunnerClass
    # `--bisect` loads and runs everything many times, in forks of its own.
    def run(arguments, *)
      SplitciDriver.driver.begin!
      raise ArgumentError, "--bisect is no way to run a shard" if arguments.any? { |word| word.to_s.start_with?("--bisect") } && SplitciDriver.driver.ours?
      super
    end
  end

  module OnRunner
    def run(*)
      SplitciDriver.driver.running { super }
    end

    def run_specs(groups)
      return super unless SplitciDriver.driver.first?(@configuration)
      SplitciDriver.driver.stay_alone
      SplitciDriver.driver.run_specs(self)
    end
  end

  module OnConfiguration
    def load_spec_files
      return super unless SplitciDriver.driver.first?(self)
      SplitciDriver.driver.stay_alone
      SplitciDriver.driver.list_files(self)
    end

    def filter_run_when_matching(*filter)
      return super if SplitciDriver.driver.of_another?(self) || SplitciDriver.driver.address.whole
      SplitciDriver.driver.focus(RSpec::Core::Metadata.build_hash_from(filter, :warn_about_example_group_filtering))
    end

    def filter_run_including(*filter)
      SplitciDriver.driver.included(RSpec::Core::Metadata.build_hash_from(filter.dup)) unless SplitciDriver.driver.of_another?(self)
      super
    end

    def filter_run(*filter)
      filter_run_including(*filter)
    end
  end

  module OnWorld
    # There is nothing to announce before a file is loaded, and nothing to give up.
    def announce_filters
      SplitciDriver.driver.of_another?(@configuration) ? super : __send__(:fail_if_config_and_cli_options_invalid)
    end
  end

  module OnReporter
    def notify_non_example_exception(error, context)
      SplitciDriver.driver.non_example_exception(error, context) unless SplitciDriver.driver.of_another?(@configuration)
      super
    end
  end

  module OnOrdering
    # The same seed in every shard, where the user gives none.
    def initialize(*)
      super
      @seed = SplitciDriver.driver.address.seed % 0xFFFF
    end
  end

  class << self
    attr_reader :driver

    def drive_rspec(address)
      @driver = RSpecDriver.new(address)
      # Registered before any other, so it runs after all of them: what they make of the status is known.
      at_exit { @driver.over($!, defined?(RSpec::Core::Version::STRING) ? RSpec::Core::Version::STRING : "") }
      when_defined("RSpec::Core::Runner") do
        RSpec::Core::Runner.singleton_class.prepend(OnRunnerClass)
        RSpec::Core::Runner.prepend(OnRunner)
        RSpec::Core::Configuration.prepend(OnConfiguration)
        RSpec::Core::World.prepend(OnWorld)
        RSpec::Core::Reporter.prepend(OnReporter)
        RSpec::Core::Ordering::ConfigurationManager.prepend(OnOrdering)
        dump_stacks_on_signal
      end
    end
  end
end

if (address = SplitciDriver::Address.find(ENV))
  SplitciDriver.drive_rspec(address)
end
