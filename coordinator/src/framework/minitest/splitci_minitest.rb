# splitci's driver for Minitest 5: runs inside the user's own command and feeds it one file at a time.
#
# - Test files are not loaded where Minitest would begin; a unit loads its own and runs what is new: classes, and methods that it adds to a class of
#   another file. Tests that are there before any file (of a helper, or the main script) are a unit of their own, named after their file.
# - Of Rails' `parallelize` a shard is one worker: it forks nothing, and has a worker's database and hooks.
# - Reporters and plugins start and report once; `Minitest.after_run` once, at the end. What runs in parallel elsewhere runs in turn here.
# - Nothing is green by omission: an `exit` in a test, a test that is never reported, an end before its time become errors.
require_relative "splitci_wire"

module SplitciDriver
  class MinitestDriver < Session
    def initialize(address)
      super(address, "minitest")
      @owned, @seen, @touched = {}, {}, []
    end

    # Whether this is the first run of the process: a test may start another.
    def first?
      !@foreign && @reporter.nil?
    end

    # Listing

    # Where a Rails application says what its databases are called.
    DATABASES = "config/database.yml"

    # Options whose value is the next word.
    VALUED = %w[-n --name -i --include -e --exclude -x -s --seed -S --skip].freeze

    # Takes the names of test files and directories out of Minitest's arguments; nothing else of them is ours.
    def take_files(arguments)
      return unless first?
      settle_down
      given = arguments.each_index.select do |place|
        word = arguments[place]
        !word.start_with?("-") && (place == 0 || !VALUED.include?(arguments[place - 1])) && (File.exist?(word) || word.end_with?(".rb"))
      end
      given = given.reverse.map { |place| arguments.delete_at(place) }.reverse
      @paths = {}
      @found = given.empty? && @listed.nil?
      files = @found ? ["test"] : given
      files.flat_map { |path| File.directory?(path) ? files_below(path) : [path] }.each { |path| add_file(path) } if @listed.nil?
      @listed.to_a.each { |path| add_file(path) }
    end

    # Rails' runner has listed its files instead of loading them; `lines` are those of their lines that it was given.
    def listed(paths, lines)
      @lines = lines.dup if defined?(Rails::LineFiltering)
      (@listed ||= []).concat(paths)
    end

    def files_below(directory)
      found = Dir[File.join(directory, "**", "{*_test,test_*}.rb")] - Dir[File.join(directory, "**", "test_helper.rb")]
      found.reject { |path| path.split("/").include?("system") && directory == "test" }.sort
    end

    def add_file(path)
      @paths[name_of(path)] = File.expand_path(SplitciDriver.bytes(path), @root).force_encoding(@home.encoding)
    end

    # Running

    def run_all(reporter, options)
      @reporter, @options = reporter, options
      self.seed = options[:seed].to_i
      # What an `at_exit` of a test file makes of the status, Minitest makes undone.
      Minitest.after_run { @undone = $! }
      speak(Minitest::VERSION)
      reporter.reporters << Ears.new(self)
      claim(nil, 0)
      become_worker
      # A script that loads test files has loaded those that it wants.
      @paths.clear if @found && @paths.keys.any? { |name| @owned.key?(name) }
      @paths.each { |name, _| open(name) } if address.whole
      list((@owned.keys + @paths.keys).uniq)
      serve { |order| run_unit(order) }
      tell_worker(:run_cleanup_hooks)
      miss_nothing
      settle_coverage
    rescue Exception => error # rubocop:disable Lint/RescueException
      # Minitest ends in order all the same, with this for the reason.
      @untimely = error
      raise
    end

    def run_unit(order)
      wire.at(order.unit, NONE)
      tests = tests_of(order.name)
      chosen = declare(order, tests)
      expect(order.unit, chosen)
      stubs, chosen = chosen.partition { |ordinal| tests[ordinal][1].is_a?(Stub) }
      stubs.each { |ordinal| ends(ordinal, tests[ordinal][1].result) }
      run_tests(tests, chosen)
      unit_end
      true
    end

    def tests_of(name)
      failed = open(name)
      return [[name, failed]] if failed
      by_class = (@owned[name] || []).group_by(&:first)
      in_order(by_class.keys).flat_map do |suite|
        wanted = chosen_by_user(suite, methods_in_order(suite, by_class[suite].map(&:last)))
        wanted.map { |method| ["#{name}::#{label(suite)}##{method}".b, [suite, method]] }
      end
    end

    # A class without a name has its address in it, which is another in each process.
    def label(suite)
      SplitciDriver.bytes(suite.to_s).gsub(/0x\h+/n, "0x")
    end

    # As the class orders them. Where several files make one class, each file's for themselves: the same order whatever else was loaded.
    def methods_in_order(suite, mine)
      all = methods_of(suite)
      return all if all.size == mine.size
      return mine.sort.shuffle(random: Random.new(seed)) if [:random, :parallel].include?(suite.test_order)
      all & mine
    end

    # Before 5.16 it is chance that orders them, wherever it stands.
    def methods_of(suite)
      srand(seed) unless Minitest.respond_to?(:seed)
      suite.runnable_methods
    end

    # Minitest shuffles classes; by name first, so that the order is one of the seed alone.
    def in_order(suites)
      suites.each_with_index.sort_by { |suite, place| [label(suite), place] }.map(&:first).shuffle(random: Random.new(seed))
    end

    def chosen_by_user(suite, methods)
      wanted, unwanted = [filter_of(suite), @options[:exclude]].map { |filter| pattern(filter) }
      return methods if wanted.nil? && unwanted.nil?
      methods.select do |method|
        names = [method, "#{suite}##{method}"]
        (wanted.nil? || names.any? { |name| wanted === name }) && (unwanted.nil? || names.none? { |name| unwanted === name })
      end
    end

    # `rails test a_test.rb:12` puts a filter over the class's. It is asked here, and would hide our choice when tests run.
    def filter_of(suite)
      return @options[:filter] unless @lines && suite.singleton_class.include?(Rails::LineFiltering)
      Rails::TestUnit::Runner.filters.replace(@lines)
      Rails::TestUnit::Runner.compose_filter(suite, @options[:filter])
    ensure
      Rails::TestUnit::Runner.filters.clear if @lines
    end

    def pattern(filter)
      filter.is_a?(String) && filter =~ %r{/(.*)/} ? Regexp.new($1) : filter
    end

    # Loads a file, once; what stands for it if it cannot be loaded.
    def open(name)
      @opened ||= {}
      return @opened[name] if @opened.key?(name)
      @opened[name] = load_file(name)
    end

    def load_file(name)
      path = @paths[name]
      return @owned.key?(name) ? nil : stub(name, "#{name} was not found", "") unless path
      begin
        # What tests made while they ran is no test of a file.
        known, @touched = Minitest::Runnable.runnables.size, []
        new = at_home { require path }
        claim(name, new ? known : 0)
      rescue SignalException, NoMemoryError, Lost
        raise
      rescue Exception => error # rubocop:disable Lint/RescueException
        stay_alone(1)
        claim(:nobody, known)
        return stub(name, SplitciDriver.exit_of(error, " while the file was loaded"), SplitciDriver.describe(error)) if error.is_a?(SystemExit)
        return stub(name, SplitciDriver.one_line(SplitciDriver.message_of(error)), SplitciDriver.describe(error), *place_of_loading(error, path))
      end
      nil
    end

    def stub(name, message, details, file = "", line = 0)
      Stub.new(name, Result.new(ERRORED, message, file, line, details))
    end

    # Methods were added to a class.
    def touched(suite)
      @touched << suite unless @touched.last.equal?(suite)
    end

    # Gives every test that is new to its owner: the file that was just loaded, or another of the suite that defines it.
    def claim(name, known)
      all = Minitest::Runnable.runnables
      reopened, @touched = @touched.uniq.select { |suite| @seen.key?(suite) }, []
      give((all[known..-1] || []) + (reopened.empty? ? [] : all.first(known).select { |suite| reopened.any? { |one| suite <= one } }), name)
    end

    def give(suites, name)
      suites.each do |suite|
        known = @seen[suite]
        methods = name == :nobody ? suite.instance_methods.map(&:to_s) : methods_of(suite).uniq
        fresh = known ? methods - known : methods
        @seen[suite] = methods | (known || [])
        next if fresh.empty? || name == :nobody
        home = known ? name : home_of(suite, fresh, name)
        fresh.each { |method| (@owned[file_of(suite, method) || home] ||= []) << [suite, method] }
        tell_of_reopening(suite, fresh, name)
      end
    end

    # The test file in which a class defines a method by itself.
    def file_of(suite, method)
      method = suite.instance_method(method)
      place = method.source_location if method.owner == suite
      file = place && name_of(place.first)
      file if @paths.key?(file)
    end

    # The file of a class, for methods that come from elsewhere.
    def home_of(suite, methods, name)
      place = Object.const_source_location(suite.name) if suite.name && Object.const_defined?(suite.name) && Object.const_get(suite.name).equal?(suite)
      place = suite.instance_method(methods.first).source_location if name.nil? && (place.nil? || place.empty?)
      file = place && !place.empty? && name_of(place.first)
      return file if file && (name.nil? || @paths.key?(file))
      methods.each { |method| return file_of(suite, method) if file_of(suite, method) }
      name || "(defined by no file)"
    rescue NameError
      name || "(defined by no file)"
    end

    # A subclass has the tests of such a class only where both files are loaded.
    def tell_of_reopening(suite, fresh, name)
      files = fresh.map { |method| file_of(suite, method) }.compact.uniq
      return unless @seen[suite].size > fresh.size || files.size > 1
      notice("#{suite} is defined by #{name} and other files: a class that inherits from it has all its tests only with `whole = true` in [minitest]")
    end

    # Tests that came in a way that nobody saw (a module that was included later) would never have run.
    def miss_nothing
      late = @seen.flat_map { |suite, known| (suite.runnable_methods - known).map { |method| "#{suite}##{method}" } }
      @errors << "tests were added after their class was loaded, and did not run: #{late.first(10).join(", ")}" unless late.empty?
    end

    def owner_of(suite, methods, name)
      place = defined_at(suite, methods)
      file = place && name_of(place)
      return file if file && (name.nil? || @paths.key?(file))
      name || file || "(defined by no file)"
    end

    def defined_at(suite, methods)
      place = suite.name && Object.respond_to?(:const_source_location) && Object.const_source_location(suite.name)
      place = suite.instance_method(methods.first).source_location if place.nil? || place.empty?
      place && place.first
    rescue NameError
      nil
    end

    def run_tests(tests, chosen)
      until (left = waiting).empty?
        begin
          @current = nil
          wire.at(@unit, left.first)
          left.map { |ordinal| tests[ordinal][1].first }.uniq.each { |suite| run_suite(suite, tests, left) }
          waiting.each { |ordinal| ends(ordinal, Result.new(ERRORED, "Minitest did not run it", "", 0, "")) }
        rescue SignalException, NoMemoryError, Lost
          raise
        rescue Exception => error # rubocop:disable Lint/RescueException
          stay_alone(error.is_a?(SystemExit) ? error.status : 1)
          escaped(@current || left.first, error)
        end
      end
    end

    # The class's own `run`, which hooks of its kind may wrap, with a filter that lets our choice through.
    def run_suite(suite, tests, left)
      @ordinals = {}
      left.each { |ordinal| @ordinals[tests[ordinal][1].last] = ordinal if tests[ordinal][1].first.equal?(suite) }
      srand(seed) unless Minitest.respond_to?(:seed)
      suite.run(@reporter, @options.merge(filter: Choice.new(@ordinals), exclude: nil))
    end

    # A test that ends its process, or the run: a plain run would be over. This one names it and goes on.
    def escaped(ordinal, error)
      @failed = true
      file, line = place_of(error.backtrace)
      message = SplitciDriver.one_line("#{error.class}: ".b << SplitciDriver.message_of(error))
      message = SplitciDriver.exit_of(error) if error.is_a?(SystemExit)
      ends(ordinal, Result.new(ERRORED, message, file, line, SplitciDriver.describe(error)))
    end

    def begins_named(method)
      return unless stay_alone
      @current = @ordinals && @ordinals[method.to_s]
      begins(@current) if @current
    end

    def ended(result)
      ordinal = @ordinals && @ordinals[result.name.to_s]
      told = ordinal && told_of(result)
      return unless stay_alone(told && told.outcome != SKIPPED ? 1 : 0)
      ends(ordinal, told) if ordinal
      @current = nil
    end

    def told_of(result)
      return nil if result.passed? && !result.skipped?
      failure = result.failures.first
      # What a library raised, and Rails' own requests do, is told where the test called for it.
      file, line = place_of([location_of(failure), *frames_of(failure)])
      outcome = result.skipped? ? SKIPPED : (result.error? ? ERRORED : FAILED)
      Result.new(outcome, SplitciDriver.one_line(said_by(failure)), file, line, result.failures.map { |one| details_of(one) }.join("\n\n"))
    end

    # Minitest matches lines of a backtrace as text, which they need not be.
    def location_of(failure)
      failure.location
    rescue ArgumentError
      failure.backtrace.to_a.first
    end

    def said_by(failure)
      return SplitciDriver.message_of(failure) unless failure.is_a?(Minitest::UnexpectedError)
      "#{failure.error.class}: ".b << SplitciDriver.message_of(failure.error)
    end

    def details_of(failure)
      ["#{failure.result_label}:".b, said_by(failure), *frames_of(failure)].join("\n")
    end

    # Without our own, which stand between Minitest's in every trace.
    def frames_of(failure)
      trace = failure.backtrace.to_a.map { |line| SplitciDriver.bytes(line) }
      Minitest.filter_backtrace(trace.reject { |line| line.start_with?(SplitciDriver.bytes(__dir__)) })
    end

    def over(error, version)
      undone = @undone unless @undone.equal?(@untimely) || (@undone.is_a?(SystemExit) && @undone.success?)
      @errors << (SplitciDriver.tell(undone) << "\nan `at_exit` block failed, and Minitest ended the process as if it had not") if undone && ours?
      super
    end

    # The application has Rails share its tests out to processes.
    def one_of_many
      @worker = address.shards > 1
    end

    # What such a process does before its tests, a shard does: it takes a database that is called after it, and what else the application has for that.
    def become_worker
      tell_worker(:after_fork_hooks) { |hook| own_database? && hook.source_location.to_a.first.to_s.end_with?("active_record/test_databases.rb") }
    end

    def tell_worker(hooks)
      return unless @worker
      hooks = ActiveSupport::Testing::Parallelization.__send__(hooks)
      hooks.each { |hook| hook.call(address.shard - 1) unless block_given? && yield(hook) }
    end

    # Whether the application's databases are called after the shard already.
    def own_database?
      File.exist?(DATABASES) && File.binread(DATABASES).include?("TEST_ENV_NUMBER")
    end

    # Where shards have a database in common, one of them prepares it.
    def prepare_in_turn
      return yield if address.shards < 2 || !File.exist?(DATABASES) || own_database?
      File.open(DATABASES) do |file|
        file.flock(File::LOCK_EX)
        yield
      end
    end

    # Whether a test failed in a way that Minitest's own reporters did not see.
    def failed?
      @failed || @opened.to_h.values.any?
    end
  end

  # Hears what Minitest tells its reporters.
  class Ears
    def initialize(driver)
      @driver = driver
    end

    def prerecord(_suite, method)
      @driver.begins_named(method)
    end

    def record(result)
      @driver.ended(result)
    end

    def start; end

    def report; end

    def passed?
      !@driver.failed?
    end
  end

  # A filter of method names.
  Choice = Struct.new(:methods) do
    def ===(name)
      methods.key?(name)
    end
  end

  module OnMinitest
    def run(arguments = [])
      SplitciDriver.driver.running do
        SplitciDriver.driver.take_files(arguments)
        super
      end
    end

    def process_args(*)
      # The same seed in every shard, where the user gives none.
      chosen = ENV.key?("SEED")
      ENV["SEED"] = (SplitciDriver.driver.address.seed % 0xFFFF).to_s unless chosen
      super
    ensure
      ENV.delete("SEED") unless chosen
    end

    def __run(reporter, options)
      return super unless SplitciDriver.driver.first?
      SplitciDriver.driver.stay_alone
      SplitciDriver.driver.run_all(reporter, options)
    end
  end

  # Classes may be opened again by another file.
  module OnRunnable
    def method_added(*)
      super
      SplitciDriver.driver.touched(self)
    end
  end

  # `parallelize_me!` hands tests to threads; the slot and the order know one at a time.
  module InTurn
    def run_one_method(suite, method, reporter)
      reporter.prerecord(suite, method)
      reporter.record(Minitest.run_one_method(suite, method))
    end
  end

  # `rails test` loads its files by itself: each is noted where it would be.
  module OnRails
    def load_tests(*)
      # Before the helper, which may start Rails again to prepare a database.
      SplitciDriver.driver.begin!
      @noted = []
      super
      noted, @noted = @noted, nil
      helper = File.expand_path("test/test_helper.rb")
      require helper if File.exist?(helper)
      SplitciDriver.driver.listed(noted, filters)
    end

    def require(path)
      @noted ? @noted << path : super
    end
  end

  # `parallelize` forks, or starts threads, whatever `PARALLEL_WORKERS` has become by then.
  module OnTestCase
    def parallelize(workers: :number_of_processors, with: :processes, **)
      SplitciDriver.driver.one_of_many if with == :processes && (workers == :number_of_processors || workers > 1)
    end
  end

  module OnMigration
    def maintain_test_schema!(*)
      SplitciDriver.driver.prepare_in_turn { super }
    end
  end

  class << self
    attr_reader :driver

    def drive_minitest(address)
      @driver = MinitestDriver.new(address)
      # Registered before any other, so it runs after all of them: what they make of the status is known.
      at_exit do
        @driver.begin! if $! && !$!.is_a?(SignalException) && ($0 == "-e" || defined?(Minitest::Runnable))
        @driver.over($!, defined?(Minitest::VERSION) ? Minitest::VERSION : "")
      end
      # Ruby takes its own `-r` before ours: Minitest's end would come after the last word.
      abort "splitci: Minitest is required by `ruby -r`; require it in the script" if defined?(Minitest::Runnable)
      when_defined("Minitest::Runnable") do
        Minitest.singleton_class.prepend(OnMinitest)
        Minitest::Runnable.singleton_class.prepend(OnRunnable)
        Minitest::Parallel::Test::ClassMethods.prepend(InTurn)
        dump_stacks_on_signal
      end
      when_defined("Rails::TestUnit::Runner") do
        Rails::TestUnit::Runner.singleton_class.prepend(OnRails)
        when_defined("ActiveSupport::TestCase") { ActiveSupport::TestCase.singleton_class.prepend(OnTestCase) }
        when_defined("ActiveRecord::Migration") { ActiveRecord::Migration.singleton_class.prepend(OnMigration) }
      end
    end
  end
end

if (address = SplitciDriver::Address.find(ENV))
  SplitciDriver.drive_minitest(address)
end
