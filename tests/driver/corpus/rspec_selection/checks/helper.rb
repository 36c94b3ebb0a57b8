RSpec.configure do |config|
  config.filter_run_excluding :never
  config.filter_run_when_matching :focus if ENV["FOCUS"]
  if ENV["OLD_FOCUS"]
    config.filter_run :focus
    config.run_all_when_everything_filtered = true
  end
  if ENV["FOCUS"] || ENV["OLD_FOCUS"]
    config.before(:suite) { counted("suite before") }
  end
  config.define_derived_metadata(file_path: %r{/slow/}) { |metadata| metadata[:slow] = true }
end
