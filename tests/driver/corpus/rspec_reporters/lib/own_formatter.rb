class OwnFormatter
  RSpec::Core::Formatters.register self, :start, :example_group_started, :example_group_finished, :example_started, :example_passed, :example_failed,
                                   :example_pending, :stop, :dump_summary, :close

  def initialize(output)
    @output = output
    counted("formatter new")
  end

  %i[start example_group_started example_group_finished example_started example_passed example_failed example_pending stop close].each do |name|
    define_method(name) { |_| counted("formatter #{name}") }
  end

  def dump_summary(notification)
    counted("formatter dump_summary")
    @output.puts("#{notification.example_count} #{notification.failure_count} #{notification.pending_count}")
  end
end
