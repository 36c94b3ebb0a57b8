require_relative "support/shared"

RSpec.configure do |config|
  config.order = :random if ENV["ORDER"]
  config.before(:suite) { counted("suite before") }
  config.after(:suite) { counted("suite after") }
  config.before(:context) { counted("before context, configured") }
  config.after(:context) { counted("after context, configured") }
  config.before(:example) { counted("before example, configured") }
  config.after(:example) { counted("after example, configured") }
  config.before(:example, :tagged) { counted("before example, tagged") }
  config.around(:example) do |example|
    counted("around example, configured")
    example.run
  end
  config.include_context "with a shared context", :shared_context_by_tag
end
