import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { table } from "./testdata/table.ts";
import { createNamespaces, startApi, tryRow } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;
const rows = [...table("refusals.yaml"), ...table("accepted.yaml")].map((row, index) => ({
  row,
  namespace: `row-${index}`,
}));

describe("the API server", { skip, concurrency: 4 }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await startApi();
    await createNamespaces(
      controlPlane,
      rows.map(({ namespace }) => namespace),
    );
  });
  after(() => controlPlane?.stop());

  for (const { row, namespace } of rows) {
    it(`${row.error === undefined ? "accepts" : "refuses"} ${row.name}`, async () => {
      const said = await tryRow(controlPlane, row, namespace);
      assert.equal(said ?? "(accepted)", row.error ?? "(accepted)");
    });
  }
});
