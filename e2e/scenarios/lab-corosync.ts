import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { type Lab, type LabHost, waitFor } from "../lab/index.ts";

/** Makes the hosts of a lab a corosync cluster by hand, for tests of the lab that do without Quorate. */
export async function startCorosync(lab: Lab): Promise<void> {
  const key = randomBytes(256);
  for (const host of lab.hosts) {
    writeFileSync(host.diskPath("/etc/corosync/corosync.conf"), configuration(lab));
    writeFileSync(host.diskPath("/etc/corosync/authkey"), key, { mode: 0o400 });
  }
  await Promise.all(lab.hosts.map((host) => host.run("systemctl", ["start", "corosync.service"])));
}

/** Waits until the host counts so many votes. */
export async function untilVotes(host: LabHost, count: number): Promise<void> {
  const counted = async () => {
    // Exit code 2: not quorate, which is an answer here.
    const { stdout } = await host.run("corosync-quorumtool", ["-s"], { exitCodes: [0, 2], timeoutMs: 5_000 });
    return new RegExp(`^Total votes: +${count}$`, "m").test(stdout);
  };
  await waitFor(counted, 30_000, `${host.name} to count ${count} votes`);
}

function configuration(lab: Lab): string {
  const nodes = lab.hosts.map(
    (host) => `
  node {
    name: ${host.name}
    nodeid: ${host.number}
    ring0_addr: ${host.address(0)}
    ring1_addr: ${host.address(1)}
  }`,
  );
  return `totem {
  version: 2
  cluster_name: by-hand
  config_version: 1
  transport: knet
  crypto_cipher: aes256
  crypto_hash: sha256
  token: 1000
}
nodelist {${nodes.join("")}
}
quorum {
  provider: corosync_votequorum
}
logging {
  to_syslog: yes
}
system {
  sched_rr: no
}
`;
}
