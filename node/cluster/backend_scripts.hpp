#pragma once

#include "cluster/cluster_backend.hpp"
#include "cluster/scripts.hpp"

namespace hexad {

/// The delivery scripts, one object each (docs/delivery.md).
struct ClusterBackend::Scripts {
    RedisScript commit{script_source("commit")}, number{script_source("number")},
        claim{script_source("claim")}, settle{script_source("settle")}, ack{script_source("ack")},
        backlog{script_source("backlog")}, fill{script_source("fill")}, ending{script_source("ending")},
        end{script_source("end")}, lease{script_source("lease")}, adopt{script_source("adopt")},
        recover{script_source("recover")}, refill{script_source("refill")},
        refill_room{script_source("refill_room")}, refill_partition{script_source("refill_partition")},
        stage{script_source("stage")}, held_room{script_source("held_room")},
        take_room{script_source("take_room")}, move_room{script_source("move_room")},
        open{script_source("open")}, prune{script_source("prune")};
};

}  // namespace hexad
