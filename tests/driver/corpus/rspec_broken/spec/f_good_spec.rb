RSpec.describe("good too") { it("passes") { expect(1).to eq(1) } }
