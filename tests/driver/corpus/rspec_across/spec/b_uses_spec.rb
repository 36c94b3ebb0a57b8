RSpec.describe("second") { it_behaves_like "of another file" }

RSpec.configure { |config| config.after(:example) { counted("after example, of the second file") } }
