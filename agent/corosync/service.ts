import { readdir } from "node:fs/promises";
import { type Host, installDropIn, removeDropIn, startUnit, stopUnit } from "../host/index.ts";
import { AUTHKEY_PATH, BACKUP_PATH, CONF_PATH } from "./config-file.ts";

const UNIT = "corosync.service";
const DROP_IN = "quorate";
const STATE_FOLDER = "/var/lib/corosync";

/**
 * A crash of corosync must not cost the host: back within the time in which the others have not yet declared it lost.
 * Without the start limit, or five crashes in ten seconds would keep it down.
 */
const DROP_IN_TEXT = `[Unit]
StartLimitIntervalSec=0

[Service]
Restart=on-failure
RestartSec=1s
`;

/** Starts corosync now and at every boot. It must be configured; an active one is left alone. */
export async function startCorosync(host: Host): Promise<void> {
  await installDropIn(host, UNIT, DROP_IN, DROP_IN_TEXT);
  await startUnit(host, UNIT, { enable: true });
}

/** Stops corosync and waits until its process is gone (up to about four seconds); it stays off at the next boot. */
export async function stopCorosync(host: Host): Promise<void> {
  await stopUnit(host, UNIT, { disable: true });
}

/**
 * Makes the host one that was never in a cluster: corosync off, its configuration, key and ring state gone.
 * The caller has made sure that no guest runs here and that it was asked for by name.
 */
export async function wipeCorosync(host: Host): Promise<void> {
  await stopCorosync(host);
  for (const path of [CONF_PATH, BACKUP_PATH, AUTHKEY_PATH]) await host.removeFile(path);
  for (const name of await readdir(host.path(STATE_FOLDER))) {
    if (name.startsWith("ringid_")) await host.removeFile(`${STATE_FOLDER}/${name}`);
  }
  await removeDropIn(host, UNIT, DROP_IN);
}
