require "test_helper"

describe Array do
  before { counted("spec before") }
  after { counted("spec after") }

  let(:list) { counted("spec let"); [1, 2] }

  it("has a size") { _(list.size).must_equal 2 }
  it("has another size") { _(list.size).must_equal 3 }
  it "has no body"

  describe "when emptied" do
    before { counted("spec before, nested"); list.clear }

    it("is empty") { _(list).must_be_empty }
    specify("is really empty") { value(list.size).must_equal 0 }
  end
end

describe("one name") { it("is here") { pass } }
describe("one name") { it("is here") { pass } }
describe("an empty one") {}
