"""The operators' API standard (CAMARA) over the same cloudlets, for programs that know no other."""
