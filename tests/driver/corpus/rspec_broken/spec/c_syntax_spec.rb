RSpec.describe("syntax") do
  it("is not run") {
end
