RSpec.describe "more", :tagged do
  20.times { |n| it("counts to #{n}") { expect(n).to be < 20 } }
  5.times { |n| describe("group #{n}") { 3.times { |m| it("counts to #{m}") { expect(m).to be < 2 } } } }
end

RSpec.describe "even more" do
  10.times { |n| it("counts to #{n}") { expect(n).to be < 20 } }
end
