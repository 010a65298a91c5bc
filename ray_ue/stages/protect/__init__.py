"""The stages from a source to a verified copy: index, sample, surrogate, embed, cluster, craft, export, verify."""
