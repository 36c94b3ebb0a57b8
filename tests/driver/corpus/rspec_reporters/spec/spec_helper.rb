RSpec.configure do |config|
  config.default_formatter = "doc"
  config.profile_examples = 2 if ENV["PROFILE"]
  config.example_status_persistence_file_path = "status.txt"
  config.on_example_group_definition { counted("group defined") }
end
