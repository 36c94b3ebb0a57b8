RSpec.describe("half") { it("is not run") { raise "never" } }

raise ArgumentError, "while loading"
