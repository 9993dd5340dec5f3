import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { QUIET_PLAN_MS, QuietPlans } from "./quiet-plans.ts";

describe("a plan that found nothing to do", () => {
  const sights = ["Alive", "Alive"];
  const rested = () => {
    const plans = new QuietPlans();
    assert.equal(plans.isDue("lab", plans.known("lab", sights), 0), true, "the first one is made");
    plans.planned("lab", plans.known("lab", sights), 0, true);
    return plans;
  };

  it("holds for a few seconds", () => {
    const plans = rested();
    assert.equal(plans.isDue("lab", plans.known("lab", sights), QUIET_PLAN_MS - 1), false);
    assert.equal(plans.isDue("lab", plans.known("lab", sights), QUIET_PLAN_MS), true);
  });

  it("does not hold for another namespace, nor after a change, nor when an agent is seen otherwise", () => {
    const plans = rested();
    assert.equal(plans.isDue("other", plans.known("other", sights), 1), true);
    assert.equal(plans.isDue("lab", plans.known("lab", ["Alive", "Silent"]), 1), true);
    plans.changed("other");
    assert.equal(plans.isDue("lab", plans.known("lab", sights), 1), false);
    plans.changed("lab");
    assert.equal(plans.isDue("lab", plans.known("lab", sights), 1), true);
  });

  it("does not hide a change that came while it was made", () => {
    const plans = rested();
    const known = plans.known("lab", sights);
    plans.changed("lab");
    plans.planned("lab", known, 1, true);
    assert.equal(plans.isDue("lab", plans.known("lab", sights), 2), true);
  });

  it("is forgotten when a later one is not at rest", () => {
    const plans = rested();
    const known = plans.known("lab", sights);
    plans.planned("lab", known, 1, false);
    assert.equal(plans.isDue("lab", known, 2), true);
  });
});
