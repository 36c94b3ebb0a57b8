# splitci's line from a Ruby test framework to the worker. What is said on it stands in `worker/src/protocol/driver.rs`.
#
# Two rules hold here and in the drivers that use it:
# - Whatever test code may replace (clock, process, files) is bound to objects before there is any test code.
# - `socket` is all that is required: the application may pin every other library.
require "socket"

module SplitciDriver
  MAJOR = 1
  MINOR = 0
  HELLO, UNITS, DECLARED, FINISHED, UNIT_END, BYE, NOTICE, RUN, STOP = 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x81, 0x82
  PASSED, FAILED, ERRORED, SKIPPED, EXPECTED_FAILURE, UNEXPECTED_PASS = 0, 1, 2, 3, 4, 5
  NONE = 0xFFFFFFFF
  CLOSING = 0xFFFFFFFD
  FLUSH_BYTES = 32 * 1024
  FLUSH_SECONDS = 0.05
  # Of one text, half its head and half its tail; the worker cuts to the configured limit.
  TEXT_LIMIT = 2 * 1024 * 1024
  # A real-time signal that nothing is known to use; `framework/ruby/mod.rs` names the same.
  DUMP_SIGNAL = 50
  LOST_STATUS = 70
  PREFIX = "SPLITCI_DRIVER_"
  SAVED = "SPLITCI_SAVED_"

  # The connection to the worker is gone. No StandardError: frameworks must not take it for a test's.
  class Lost < Exception
  end

  # What the worker put into the environment.
  class Address
    attr_reader :socket, :slot, :seed, :whole, :shard, :shards, :given

    # None where there is no worker: a process that a test started, or one of the user's own.
    def self.find(environ)
      environ.key?(PREFIX + "SOCKET") ? new(environ) : nil
    end

    def initialize(environ)
      @socket = environ[PREFIX + "SOCKET"]
      @slot = environ[PREFIX + "SLOT"]
      @seed = (environ[PREFIX + "SEED"] || "0").to_i
      @whole = environ["SPLITCI_RUBY_WHOLE"] == "1"
      @given = environ["SPLITCI_RUBY_FILES"].to_s
      @shard = (environ["SPLITCI_SHARD"] || "1").to_i
      @shards = (environ["SPLITCI_SHARDS"] || "1").to_i
    end
  end

  # Gives the environment back as the user made it. Others (Bundler) may have put their own words before ours, and kept copies: ours is taken out of
  # every one of them.
  def self.restore(environ, directory)
    added = environ.fetch(PREFIX + "ADDED", "").split(",")
    environ.keys.grep(/RUBYOPT/).each do |name|
      next if name.start_with?(SAVED)
      words = environ[name].split(" ").reject { |word| word.start_with?("-r" + directory) }
      if words.empty? && (added.include?(name) || name != "RUBYOPT")
        environ.delete(name)
      else
        environ[name] = words.join(" ")
      end
    end
    environ.keys.each do |name|
      environ.delete(name) if name.start_with?(SAVED, PREFIX, "SPLITCI_RUBY_")
    end
  end

  def self.dump_stacks_on_signal
    error = IO.for_fd(2, "w", autoclose: false)
    trap(DUMP_SIGNAL) do
      Thread.list.each { |thread| error.write("#{thread.inspect}\n    #{(thread.backtrace || []).join("\n    ")}\n") }
    end
  rescue ArgumentError
    # This platform has no such signal.
  end

  # Text as UTF-8 bytes, whatever it holds.
  def self.bytes(text)
    text = text.to_s
    text = text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace) unless text.encoding.ascii_compatible?
    text.b
  end

  def self.field(text)
    data = bytes(text)
    [data.bytesize].pack("V") << data
  end

  def self.cut(text)
    data = bytes(text)
    return data if data.bytesize <= TEXT_LIMIT
    half = TEXT_LIMIT / 2
    data.byteslice(0, half) << "\n[... #{data.bytesize - 2 * half} bytes ...]\n".b << data.byteslice(-half, half)
  end

  # The first lines that say something, as one: what was expected and what came usually stand on two.
  def self.one_line(text)
    lines = bytes(text).each_line.map(&:strip).reject(&:empty?)
    lines.first(3).join("  ").byteslice(0, 2000)
  end

  # Some errors cannot say what they are.
  def self.message_of(error)
    bytes(error.message)
  rescue StandardError => another
    "(no message: #{another.class})".b
  end

  # An exception as text.
  def self.describe(error)
    lines = ["#{error.class}: ".b << message_of(error)]
    lines.concat((error.backtrace || []).reject { |line| line.start_with?(__dir__) }.map { |line| "    ".b << bytes(line) })
    lines << "caused by #{describe(error.cause)}" if error.cause && !error.cause.equal?(error)
    lines.join("\n")
  end

  # An exception outside of any test. What is wrong comes last: a summary has room for a few lines, and takes those.
  def self.tell(error)
    lines = (error.backtrace || []).reject { |line| line.start_with?(__dir__) }.reverse.map { |line| "    ".b << bytes(line) }
    lines.unshift(tell(error.cause), "led to") if error.cause && !error.cause.equal?(error)
    (lines << ("#{error.class}: ".b << message_of(error).lstrip)).join("\n")
  end

  # An `exit`, and what `abort` said.
  def self.exit_of(error, when_it_was = "")
    word = error.message == "exit" ? "" : one_line(": ".b << message_of(error))
    "`exit` was called#{when_it_was}, with status #{error.status}".b << word
  end

  # How a test that did not plainly pass ended.
  Result = Struct.new(:outcome, :message, :file, :line, :details)

  # A test that stands for something that could not be loaded.
  Stub = Struct.new(:id, :result)

  # One unit to run.
  class Order
    attr_reader :unit, :name, :careful, :first, :last, :mode

    def initialize(reader)
      @unit = reader.number
      @name = reader.text
      mode = reader.byte
      @mode, @careful = mode & 0x7F, (mode & 0x80) != 0
      @ids = {}
      reader.number.times { @ids[reader.text] = true }
      @first = reader.number
      @last = reader.number
    end

    def wants?(ordinal, id)
      ordinal >= @first && ordinal < @last && (@mode == 0 || @ids.key?(id) == (@mode == 1))
    end
  end

  # Fields of a message.
  class Reader
    def initialize(data)
      @data, @place = data, 0
    end

    def number
      value = @data.byteslice(@place, 4).unpack1("V")
      @place += 4
      value
    end

    def byte
      @place += 1
      @data.getbyte(@place - 1)
    end

    def text
      length = number
      @place += length
      @data.byteslice(@place - length, length)
    end
  end

  # Socket and slot.
  class Wire
    attr_reader :sent
    attr_writer :careful

    # Now, and not when the wire is made: a helper may replace them before.
    CLOCK, CONNECT, OPEN = Process.method(:clock_gettime), UNIXSocket.method(:new), File.method(:open)

    def initialize(address)
      @socket = CONNECT.call(address.socket)
      @slot = OPEN.call(address.slot, "r+b")
      @now = -> { CLOCK.call(Process::CLOCK_MONOTONIC) }
      @buffer = String.new(encoding: Encoding::BINARY)
      @flushed = @now.call
      @sent = 0
      @changes = 0
      @careful = false
    end

    def now
      @now.call
    end

    # Says what runs now.
    def at(unit, ordinal)
      @changes += 1
      @slot.pwrite([unit, ordinal, @changes].pack("VVQ<"), 0)
    rescue IOError, SystemCallError => error
      raise Lost, "the descriptor of splitci's slot was closed by a test: #{error.message}"
    end

    def push(kind, payload)
      @buffer << [payload.bytesize + 1, kind].pack("VC") << payload
    end

    # A sending that did not succeed leaves half a message behind: nothing may follow it.
    def flush
      data, @buffer = @buffer, String.new(encoding: Encoding::BINARY)
      @socket.write(data)
      @flushed = @now.call
    rescue IOError, SystemCallError => error
      raise Lost, "splitci's worker does not listen: #{error.message}"
    end

    # The common case is one fixed message, buffered.
    def finished(unit, ordinal, seconds, result)
      micros = seconds > 0 ? (seconds * 1e6).to_i : 0
      @sent += 1
      if result.nil?
        @buffer << [38, FINISHED, unit, ordinal, PASSED, micros, 0, 0, 0, 0, 0].pack("VCVVCQ<VVVVV")
        flush if @careful || @buffer.bytesize >= FLUSH_BYTES || @now.call - @flushed >= FLUSH_SECONDS
        return
      end
      tail = [SplitciDriver.field(result.file), [result.line.to_i].pack("V"), SplitciDriver.field(result.message),
              SplitciDriver.field(""), SplitciDriver.field(SplitciDriver.cut(result.details))].join
      push(FINISHED, [unit, ordinal, result.outcome, micros].pack("VVCQ<") << tail)
      bad = result.outcome == FAILED || result.outcome == ERRORED
      flush if bad || @careful || @buffer.bytesize >= FLUSH_BYTES || @now.call - @flushed >= FLUSH_SECONDS
    end

    # The next message of the worker: its kind and what it carries. Waits.
    def next
      length = receive(4).unpack1("V")
      message = receive(length)
      [message.getbyte(0), message.byteslice(1, length - 1)]
    end

    private

    def receive(length)
      data = @socket.read(length)
      raise Lost, "splitci's worker closed the connection" if data.nil? || data.bytesize < length
      data
    rescue IOError, SystemCallError => error
      raise Lost, "splitci's worker does not speak: #{error.message}"
    end
  end

  # What all Ruby drivers do alike: hello, units, the loop, bye. A framework's driver says how files are listed, loaded and run.
  class Session
    attr_reader :address, :wire, :errors

    def initialize(address, framework)
      @address, @framework = address, framework
      @pid_now, @leave, @here = Process.method(:pid), Process.method(:exit!), Dir.method(:pwd)
      @wire = nil
      @pid = nil
      @seed = address.seed
      @errors, @notices = [], []
      @stopped = false
      @loops = 0
    end

    attr_accessor :seed

    # The framework is there, and this is the process that it will run in.
    def begin!
      return if @pid
      @pid = @pid_now.call
      SplitciDriver.restore(ENV, __dir__)
    end

    def ours?
      @pid == @pid_now.call
    end

    # A fork that starts a run of its own is none of our business while it does.
    def running
      begin!
      before, @foreign = @foreign, !ours?
      yield
    ensure
      @foreign = before
    end

    # Files are loaded where the helper left us: a plain run has loaded all of them before a test may go elsewhere.
    def settle_down
      @home = @here.call
      @root = SplitciDriver.bytes(@home)
    end

    # A file as a unit is named. In bytes: names are of another encoding than the locale's where they like.
    def name_of(path)
      File.expand_path(SplitciDriver.bytes(path), @root).delete_prefix(@root + "/")
    end

    def at_home
      here = begin
        @here.call
      rescue SystemCallError
        nil
      end
      return yield if here == @home
      begin
        Dir.chdir(@home)
        yield
      ensure
        Dir.chdir(here) if here && File.directory?(here)
      end
    end

    # Of a backtrace, file and line: of the file that is wanted, or the innermost that is no library's.
    def place_of(backtrace, wanted = nil)
      places = (backtrace || []).map { |line| SplitciDriver.bytes(line).match(/\A(?:# )?(.+?):(\d+)(?::|\z)/n) }.compact
      places = places.map { |match| [match[1], match[2].to_i] }.reject { |file, _| file.start_with?(SplitciDriver.bytes(__dir__)) }
      return ["", 0] if places.empty? || @root.nil?
      wanted = wanted && name_of(wanted)
      names = places.map { |file, line| [name_of(file), line] }
      names.find { |file, _| file == wanted } || names.find { |file, _| !file.start_with?("/") } || names.first
    end

    # Where a file cannot be loaded. Of a wrong syntax only the message says so.
    def place_of_loading(error, wanted)
      lines = error.is_a?(SyntaxError) ? SplitciDriver.message_of(error).lines : []
      place_of(lines + error.backtrace.to_a, wanted)
    end

    # A fork that came back into the runner ends here: it must neither speak nor run the tests a second time. False in a run of its own.
    def stay_alone(status = 0)
      return true if ours?
      @leave.call(status) unless @foreign
      false
    end

    # Connects and says hello, once.
    def speak(version)
      return if @wire || @said_bye
      wire = Wire.new(@address)
      wire.push(HELLO, [MAJOR, MINOR, @pid, @seed].pack("vvVQ<") << SplitciDriver.field(@framework) << SplitciDriver.field(version))
      @notices.each { |text| wire.push(NOTICE, SplitciDriver.field(text)) }
      wire.flush
      @wire = wire
    rescue SystemCallError => error
      raise Lost, "the worker hears one session for each start, and not this one: #{error.message}"
    end

    def notice(text)
      @wire ? @wire.push(NOTICE, SplitciDriver.field(text)) : @notices << text
    end

    def list(names)
      stay_alone
      @wire.at(NONE, NONE)
      @wire.push(UNITS, [names.size].pack("V") << names.map { |name| SplitciDriver.field(name) }.join)
      @wire.flush
    end

    # Runs what the worker gives, until it says stop; false when the framework wants to quit before.
    def serve
      loop do
        kind, payload = @wire.next
        if kind == STOP
          @stopped = true
          @wire.at(NONE, CLOSING)
          return true
        end
        next unless kind == RUN
        reader = Reader.new(payload)
        reader.number.times do
          return false unless yield(Order.new(reader))
        end
      end
    end

    # Declares a loaded unit. `tests` are all of its file in the order in which they run; says which of them are to run.
    def declare(order, tests)
      stay_alone
      ids = tests.map { |id, _| id }
      # What stands for a failed loading is told whatever was asked for: in the middle of a file there is nothing else to say.
      chosen = (0...ids.size).select { |ordinal| tests[ordinal][1].is_a?(Stub) || order.wants?(ordinal, ids[ordinal]) }
      payload = [order.unit, ids.size].pack("VV") << ids.map { |id| SplitciDriver.field(id) }.join
      payload << (chosen.size == ids.size ? [NONE].pack("V") : [chosen.size, *chosen].pack("V*"))
      @wire.push(DECLARED, payload)
      # At once: a test that takes the process with it shall have a name.
      @wire.flush
      @wire.careful = order.careful
      chosen
    end

    # Results may come in any order (a hook that fails speaks for a whole group); they are told in the order of their tests.
    def expect(unit, chosen)
      @unit, @expected, @early = unit, chosen.dup, {}
      @since = @wire.now
      @sent_before = @wire.sent
    end

    def expected?(ordinal)
      @expected.include?(ordinal) && !@early.key?(ordinal)
    end

    def waiting
      @expected.reject { |ordinal| @early.key?(ordinal) }
    end

    # Says that a test begins.
    def begins(ordinal)
      @wire.at(@unit, ordinal)
    end

    # Takes a test's result; nil for a plain pass.
    def ends(ordinal, result)
      now = @wire.now
      seconds, @since = now - @since, now
      if @expected.first == ordinal
        @expected.shift
        @wire.finished(@unit, ordinal, seconds, result)
      elsif expected?(ordinal)
        @early[ordinal] = [seconds, result]
      else
        return
      end
      while !@expected.empty? && @early.key?(@expected.first)
        early = @expected.shift
        @wire.finished(@unit, early, *@early.delete(early))
      end
    end

    def unit_end
      stay_alone
      @wire.push(UNIT_END, [@unit, @wire.sent - @sent_before].pack("VV"))
      # The slot goes first: whoever reads unit end must not find its last test still running.
      @wire.at(NONE, NONE)
      @wire.flush
    end

    # The process ends with this status: the last thing that is said.
    def bye(status)
      wire, @wire, @said_bye = @wire, nil, true
      return if wire.nil? || !ours?
      wire.push(BYE, [wire.sent, status].pack("Q<l<") << SplitciDriver.field(SplitciDriver.cut(@errors.join("\n\n"))))
      wire.flush
      # Left open, and referred to: the end of the connection is the end of the process.
      @kept = wire
    rescue Lost => error
      $stderr.write("splitci: #{error.message}\n")
    end

    # To be called when everything else of the process is over, with what ended it.
    def over(error, version)
      return if @pid.nil? || !ours? || @said_bye || error.is_a?(SignalException) || error.is_a?(Lost)
      status = error.nil? ? 0 : (error.is_a?(SystemExit) ? error.status : 1)
      unless @stopped || !@errors.empty?
        word = error.is_a?(SystemExit) && error.message != "exit" ? ": ".b << SplitciDriver.message_of(error) : ""
        @errors << (error.is_a?(SystemExit) || error.nil? ? "the run was ended before its time, with status #{status}#{word}" : SplitciDriver.tell(error))
      end
      # An exit that another error led to says nothing by itself.
      hidden = error.is_a?(SystemExit) && (status != 0 || !@stopped) ? error.cause : nil
      @errors << SplitciDriver.tell(hidden) if hidden && !hidden.is_a?(SystemExit)
      @errors << SplitciDriver.tell(error) if @stopped && error && !error.is_a?(SystemExit)
      speak(version)
      bye(status)
    rescue Lost => lost
      $stderr.write("splitci: #{lost.message}\n")
    end

    # Shards see a part each: a threshold that holds for the whole suite says nothing about them.
    def settle_coverage
      return if @address.shards < 2 || !Object.const_defined?(:SimpleCov)
      coverage = Object.const_get(:SimpleCov)
      coverage.command_name("#{coverage.command_name} shard #{@address.shard}")
      set = [:minimum_coverage, :minimum_coverage_by_file, :maximum_coverage_drop].select do |name|
        limit = coverage.respond_to?(name) && coverage.__send__(name)
        limit.is_a?(Hash) ? limit.any? : limit.to_f > 0
      end
      return if set.empty?
      set.each { |name| coverage.instance_variable_set("@#{name}", {}) }
      notice("coverage threshold not checked: a shard sees only a part")
    rescue StandardError => error
      notice("SimpleCov's thresholds could not be switched off: #{error.message}")
    end
  end

  # Calls the block when the class or module of this name has been defined.
  def self.when_defined(name)
    named = Module.instance_method(:name)
    TracePoint.new(:end) do |point|
      next unless named.bind(point.self).call == name
      point.disable
      yield
    end.enable
  end
end
