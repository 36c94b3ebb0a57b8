def makes_group(name)
  RSpec.describe(name) { 3.times { |n| it("is made #{n}") { expect(1).to eq(1) } } }
end
