RSpec.describe("good") { it("passes") { expect(1).to eq(1) } }
