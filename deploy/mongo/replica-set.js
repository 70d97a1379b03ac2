// Creates a replica set of three nodes, unless it exists. Run by mongosh on the first node.
const members = ["mongo-1", "mongo-2", "mongo-3"].map((name, id) => ({ _id: id, host: `${name}:27017` }));
try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  rs.initiate({ _id: "assay", members });
}
let left = 60;
while (!rs.status().members.some((member) => member.stateStr === "PRIMARY")) {
  if (left-- === 0) throw new Error("no primary after a minute");
  sleep(1000);
}
