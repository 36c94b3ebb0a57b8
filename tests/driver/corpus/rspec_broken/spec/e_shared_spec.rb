RSpec.describe("shared") { it_behaves_like "nothing that is known" }
