RSpec.shared_examples("of another file") { it("is shared") { expect(1).to eq(1) } }

RSpec.configure { |config| config.before(:example) { counted("before example, of the first file") } }

RSpec.describe("first") { it_behaves_like "of another file" }
