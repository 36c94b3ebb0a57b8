module Minitest
  class OwnReporter < AbstractReporter
    %i[start prerecord record report].each { |name| define_method(name) { |*| counted("reporter #{name}") } }
  end

  def self.plugin_own_options(opts, options)
    counted("plugin options")
    opts.on("--own", "Ours") { options[:own] = true }
  end

  def self.plugin_own_init(options)
    counted("plugin init")
    reporter << OwnReporter.new if options[:own]
  end
end
